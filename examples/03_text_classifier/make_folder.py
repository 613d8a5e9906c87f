"""Writes a small BERT with random weights as save_pretrained does: stands in for one that you trained."""

import sys

import torch
import transformers

torch.manual_seed(0)
config = transformers.BertConfig(
    vocab_size=1000,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    num_labels=3,
)
transformers.BertForSequenceClassification(config).save_pretrained(sys.argv[1])
