"""What a store and the rules agree on: queries, changes, the transaction and the store's interface."""
