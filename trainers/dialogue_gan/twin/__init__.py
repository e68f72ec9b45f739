"""The dialogue GAN's networks, losses and steps in PyTorch; `trainers.dialogue_gan.torch_twin` is the way in."""
