"""The whole road on real text: fetch, fine-tune, export, classify, measure."""
