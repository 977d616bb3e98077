"""
Dropout
=======

Test.
"""

import jaxnoise as jn

jn.dropout
