"""Which models reach a checked artifact, here and by plain converters: torchvision's, timm's and transformers'."""
