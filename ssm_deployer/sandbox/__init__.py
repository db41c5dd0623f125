"""The emulated AWS account and its instances: a rehearsal ground on the user's own machine."""
