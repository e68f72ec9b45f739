"""The dialogue GAN's networks, losses and steps in PyTorch; `trainers.dialogue_gan.pytorch.build` is the way in."""
