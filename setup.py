"""Build the Cython kernels; everything else is in pyproject.toml.

DSM_MARCH chooses their instruction set (-march): unset takes `native` where the compiler knows it and builds
for this machine, empty or `generic` takes the compiler's default, anything else is passed on. The choice is
compiled in (macros DSM_BUILD_MARCH and DSM_BUILD_FLAGS). For tools/sanitize.sh: DSM_CFLAGS is passed on after
all other flags, DSM_LEVELS names the instruction sets to compile the student's kernels for.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy as np
from Cython.Distutils import build_ext
from setuptools import Extension, setup
from setuptools.errors import CompileError, SetupError

# Never -ffast-math, never contraction to fused multiply-add: results must be the same on every machine.
# -fwrapv: sums of weights may pass the int32 range on their way to a result within it.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fwrapv"]
# The second and third come from the code that Cython generates, not from the kernels; the last does not
# concern functions that are always inlined.
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-stringop-overflow", "-Wno-psabi"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
MORE = os.environ.get("DSM_CFLAGS", "").split()
# The tools that build for another machine (conda, cibuildwheel, macOS) set one of these.
CROSS_BUILD = ("_PYTHON_HOST_PLATFORM", "CIBUILDWHEEL", "ARCHFLAGS")


# The student's kernels are compiled once for each of these, whatever DSM_MARCH says, and chosen from at run
# time (levels.pyx, which knows what a processor must have for each).  avx512: from Ice Lake and Zen 4 on.
AVX2 = ["-mavx2", "-mbmi", "-mbmi2", "-mpopcnt", "-mtune=haswell"]
FEATURES = ("f", "bw", "vl", "dq", "vbmi", "vbmi2", "vnni", "vpopcntdq", "bitalg")
AVX512 = [f"-mavx512{name}" for name in FEATURES]
LEVELS = {"generic": [], "avx2": AVX2, "avx512": [*AVX2, *AVX512, "-mtune=icelake-server"]}
LEVEL_SOURCE = "dsm_hpc/kernels/level.c"

# Threads within a walker; a compiler without OpenMP builds all but these.
OPENMP = ["-fopenmp"]
OPENMP_PROGRAM = "#include <omp.h>\nint dsm_threads(void) { return omp_get_num_threads(); }\n"


class BuildKernels(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.force = True  # flags and the versions of numpy and Cython leave no trace in file times

    def build_extensions(self):
        march = self.march()
        flags = FLAGS + ([] if march == "generic" else [f"-march={march}"])
        for extension in self.extensions:
            extension.extra_compile_args = flags + WARNINGS + MORE
            extension.define_macros += [
                ("DSM_BUILD_MARCH", f'"{march}"'),
                ("DSM_BUILD_FLAGS", f'"{" ".join(flags)}"'),
            ]
        super().build_extensions()

    def build_extension(self, extension):
        if extension.name == "dsm_hpc.kernels.levels":
            openmp = OPENMP if self.compiles(*OPENMP, source=OPENMP_PROGRAM) else []
            extension.extra_compile_args = extension.extra_compile_args + openmp
            extension.extra_link_args = extension.extra_link_args + openmp
            asked = os.environ.get("DSM_LEVELS", " ".join(LEVELS)).split()
            levels = {
                level: flags for level, flags in LEVELS.items() if level in asked and self.compiles(*flags)
            }
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # a minute or two each
                for objects in pool.map(
                    lambda level: self.compile_level(level, levels[level] + openmp), levels
                ):
                    extension.extra_objects += objects
            extension.define_macros += [(f"DSM_HAS_{level.upper()}", "1") for level in levels]
        super().build_extension(extension)

    def compile_level(self, level, flags):
        return self.compiler.compile(
            [LEVEL_SOURCE],
            output_dir=str(Path(self.build_temp, level)),
            macros=[("DSM_LEVEL", level)],
            extra_postargs=FLAGS + flags + WARNINGS + MORE,
        )

    def march(self):
        asked = os.environ.get("DSM_MARCH")
        if asked is None:
            cross = any(os.environ.get(name) for name in CROSS_BUILD)
            return "native" if not cross and self.compiles("-march=native") else "generic"
        if asked in ("", "generic"):
            return "generic"
        if not self.compiles(f"-march={asked}"):
            raise SetupError(f"DSM_MARCH={asked}: the C compiler does not take -march={asked}")
        return asked

    def compiles(self, *flags, source="int dsm_empty;\n"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "probe.c")
            file.write_text(source)
            try:
                self.compiler.compile([str(file)], output_dir=folder, extra_postargs=list(flags))
            except CompileError:
                return False
        return True


def kernel(source):
    extension = Extension(
        source.removesuffix(".pyx").replace("/", "."),
        [source],
        depends=sorted(glob("dsm_hpc/*/*.h")),
        include_dirs=["dsm_hpc/kernels", np.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        library_dirs=[str(Path(np.get_include()).parents[1] / "random" / "lib")],
        libraries=["npyrandom", "m"],
    )
    extension.cython_directives = DIRECTIVES
    return extension


setup(
    ext_modules=[kernel(source) for source in sorted(glob("dsm_hpc/*/*.pyx"))],
    cmdclass={"build_ext": BuildKernels},
)
