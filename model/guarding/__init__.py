"""What the guard compares sentences with: the order, the finding heads, and phrases to write instead."""
