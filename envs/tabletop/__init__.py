"""An SO-101 arm on a table with things to touch, lift, move, push and stack."""
