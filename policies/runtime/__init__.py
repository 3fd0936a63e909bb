"""What runs a policy: action chunks, episodes, collections, reports."""
