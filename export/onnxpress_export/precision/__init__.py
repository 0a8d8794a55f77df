"""Lower precisions that keep the answers: calibrated, searched, and measured on unseen texts."""
