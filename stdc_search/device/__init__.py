"""What measures: it needs only the standard library, NumPy and a runtime, so it also runs alone on another device.

Nothing here may need more than Python 3.9, since devices often have an old one.
"""
