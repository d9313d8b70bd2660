"""What is wrong, or worth knowing, in a folder of images, before a network learns from it.

`run` holds the check, `findings` what it can find, `facts` what it learns from one file, `copies`
the search for pictures that are nearly the same, `cost` and `steps` the estimates. Only `steps`
loads Keras.
"""

from __future__ import annotations
