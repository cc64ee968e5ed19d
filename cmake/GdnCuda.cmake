# GDN_CUDA=AUTO|ON|OFF decides on the CUDA backend; sets GDN_HAS_CUDA. AUTO builds it where a CUDA
# compiler is found. No GPU and no driver are needed to build or to load the library: the runtime
# is linked statically and opens the driver at the first CUDA call.

set(GDN_HAS_CUDA OFF)
if(NOT GDN_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # Machine code for Ampere and Hopper, PTX for everything newer. compute_90a alone holds wgmma,
    # and its machine code runs on Hopper only.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
    endif()
    # Targets link CUDA::cudart_static themselves; the compiler's own choice is looked for in fewer
    # places.
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)
    if(NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER AND DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
      set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
    endif()
    enable_language(CUDA)
    # CMake 3.25 knows no C++20 flag for some versions of nvcc.
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
    # What GDN_CUDA_STRICT compiles kernels with: one that spills registers is an error.
    set(GDN_PTXAS_STRICT "-Xptxas=--warn-on-spills,--warning-as-error")
    # CMake 3.25.1 sets a property of nvToolsExt, which CUDA 13 no longer has, where a project asks
    # for 3.25.
    set(minimum ${CMAKE_MINIMUM_REQUIRED_VERSION})
    set(CMAKE_MINIMUM_REQUIRED_VERSION 3.24)
    find_package(CUDAToolkit REQUIRED)
    set(CMAKE_MINIMUM_REQUIRED_VERSION ${minimum})
    set(GDN_HAS_CUDA ON)
    message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, "
                   "targets ${CMAKE_CUDA_ARCHITECTURES}")
  elseif(GDN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "GDN_CUDA=ON, but no CUDA compiler was found. Put nvcc on the PATH or set "
                        "CMAKE_CUDA_COMPILER.")
  else()
    message(STATUS "CUDA backend: no CUDA compiler found, not built")
  endif()
endif()
