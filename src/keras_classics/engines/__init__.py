"""What runs a network: Keras, or the run-time of an export; predictions of any number of images."""
