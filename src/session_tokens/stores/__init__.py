"""The stores: each keeps records and commits change sets; none knows a rule."""
