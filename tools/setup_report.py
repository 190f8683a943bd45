"""Print what the set-up built, in one line; exit 1 if it is not what was meant ("system" or "wheel")."""

import platform
import sys

import h5py
import mpi4py

mpi4py.rc.initialize = False  # only names and versions are asked for; MPI is not started
from mpi4py import MPI  # noqa: E402

parallel = bool(h5py.get_config().mpi)
library = " ".join(MPI.Get_library_version().splitlines()[0].split(",")[0].strip("\0").split())
print(
    f"python {platform.python_version()} | {library} | HDF5 {h5py.version.hdf5_version}"
    f" | h5py {h5py.__version__}, mpi {'yes' if parallel else 'no'}"
)
if parallel != (sys.argv[1] == "system"):
    sys.exit("set-up: h5py is not the one that was built; `make clean` and start again")
