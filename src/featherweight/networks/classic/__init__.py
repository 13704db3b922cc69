"""LeNet, AlexNet, VGG, ResNet, LSTM."""
