"""What every process does first: read its settings, hold its pid file, log. Not pure, unlike the rest of `shared`:

only composition roots and what opens things for them may import it.
"""
