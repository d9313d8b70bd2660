"""Out of Keras: a network as files of other run-times, compared with Keras on real pictures."""
