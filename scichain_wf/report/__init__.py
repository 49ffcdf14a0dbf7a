"""Renderings of one audit result for other programs and for people. Nothing is judged here."""
