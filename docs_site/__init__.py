"""What the documentation's site is made of beside docs/: generated pages and a drawing."""
