"""What the original does before its role: the GAC over its environment, production.ini from the template.

    original_start.py TEMPLATE OUT PYPROJECT

Nothing of the original is written here again; its own functions are called in its own order.
"""
import sys

from dcicutils.deployment_utils import BasicOrchestratedCGAPIniFileManager
from dcicutils.misc_utils import override_environ
from dcicutils.secrets_utils import assume_identity

template, out, pyproject = sys.argv[1:4]


class Manager(BasicOrchestratedCGAPIniFileManager):
    PYPROJECT_FILE_NAME = pyproject
    EB_MANIFEST_FILENAME = out + ".no-manifest"


with override_environ(**assume_identity()):
    Manager.build_ini_file_from_template(template, out)
