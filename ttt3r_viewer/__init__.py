"""frames -> model (proposes a new state) -> rule (decides how much of it to accept) -> scene ->
viewer.
"""

__version__ = "0.1.0"
