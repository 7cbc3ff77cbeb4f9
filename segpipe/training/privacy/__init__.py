"""Differentially private training: what a step may take from a patient, the noise, and the account of both."""
