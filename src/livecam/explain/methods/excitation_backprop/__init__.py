"""Excitation Backprop (Zhang et al. 2016) through networks of any build."""
