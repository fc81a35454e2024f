"`python -m argus_nb` is `argus`."
import sys

from argus_nb.cli import main

sys.exit(main())
