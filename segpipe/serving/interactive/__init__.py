"""A service that a viewer calls while a reader corrects a lesion: prompts in, mask and measurements out."""
