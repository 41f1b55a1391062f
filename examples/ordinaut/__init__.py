"""A task scheduling system in containers, a stand-in of Ordinaut."""
