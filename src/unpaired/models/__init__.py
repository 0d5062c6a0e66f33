"""Translation with a trained model: any image, any size, any number of files. Needs none of the training code."""
