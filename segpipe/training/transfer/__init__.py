"""What weights begin with, and which of them are learnt when: initial weights of other models, and fine-tuning."""
