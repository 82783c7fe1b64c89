"""The parts of `manage.py benchstreams`: a scripted provider, guests, and the server's costs."""
