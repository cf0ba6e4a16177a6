"""The Hugging Face hub: what it offers, the card of a model before it is fetched, and fetching it.

Nothing here imports huggingface_hub before the hub is asked: it takes a quarter of a second.
"""
