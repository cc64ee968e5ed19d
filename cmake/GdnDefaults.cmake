# Compile options that every target of the project shares, as the interface target gdn_defaults.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

add_library(gdn_defaults INTERFACE)
# Contraction is on everywhere: a fused multiply-add is the better rounding and the same on every
# run. Value-changing fast-math is on nowhere.
target_compile_options(gdn_defaults INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wall -Wextra -Wshadow -ffp-contract=fast>)
if(GDN_SANITIZE)
  target_compile_options(gdn_defaults INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${GDN_SANITIZE} -fno-omit-frame-pointer -g>)
  target_link_options(gdn_defaults INTERFACE -fsanitize=${GDN_SANITIZE})
  if(GDN_SANITIZE MATCHES undefined)
    target_compile_options(gdn_defaults INTERFACE
      $<$<COMPILE_LANGUAGE:C,CXX>:-fno-sanitize-recover=undefined>)
  endif()
endif()

if(GDN_STATIC_LIBSTDCXX)
  # Hidden: the process may hold another libstdc++, whose symbols must not mix with these. Parts that
  # nothing calls are left out: some need a newer glibc than all else.
  target_link_options(gdn_defaults INTERFACE
    -static-libstdc++ -Wl,--exclude-libs,ALL -Wl,--gc-sections)
endif()

if(GDN_BUILD_FUZZ)
  # The fuzzer sees which branches of the library its input reaches.
  target_compile_options(gdn_defaults INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=fuzzer-no-link>)
endif()

# Debian's dlpack CMake file misstates its version, so the header is found by its path.
find_path(GDN_DLPACK_INCLUDE_DIR dlpack/dlpack.h
  DOC "Folder that holds dlpack/dlpack.h (Debian: libdlpack-dev)")
if(NOT GDN_DLPACK_INCLUDE_DIR)
  message(FATAL_ERROR "dlpack/dlpack.h was not found. Install it (Debian: libdlpack-dev) or set "
                      "GDN_DLPACK_INCLUDE_DIR to the folder that holds dlpack/.")
endif()
