"""From a folder of images to the artefact of a run."""
