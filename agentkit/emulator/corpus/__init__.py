"""The pages that the emulator searches, and the index that finds them."""
