"""What a run looks like: each view shows a run and its events, and fetches nothing."""
