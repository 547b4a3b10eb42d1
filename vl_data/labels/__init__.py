"""What a model says of images and instructions: captions, descriptions, capability tags."""
