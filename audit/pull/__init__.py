"""Given training images without captions: rank them by how well the model knows them, and pull the best ones out."""
