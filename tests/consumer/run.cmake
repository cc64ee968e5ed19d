# See CMakeLists.txt. Variables: BUILD, SCRATCH, SOURCE, GENERATOR, LIBDIR, C_COMPILER, CXX_COMPILER,
# PKG_CONFIG.

set(prefix ${SCRATCH}/prefix)
file(REMOVE_RECURSE ${prefix} ${SCRATCH}/moved ${SCRATCH}/build ${SCRATCH}/build_c)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed (${status}): ${ARGN}\n${out}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} --component library)
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} --component development)
# An installed tree can be moved.
file(RENAME ${prefix} ${SCRATCH}/moved)
set(prefix ${SCRATCH}/moved)

set(configure ${CMAKE_COMMAND} -S ${SOURCE} -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=${C_COMPILER})
message(STATUS "find_package")
run(${configure} -B ${SCRATCH}/build -DCMAKE_CXX_COMPILER=${CXX_COMPILER})
run(${CMAKE_COMMAND} --build ${SCRATCH}/build)
run(${SCRATCH}/build/consumer_c)
run(${SCRATCH}/build/consumer_cc)

message(STATUS "find_package in a project without C++")
run(${configure} -B ${SCRATCH}/build_c -DCONSUMER_CXX=OFF)
run(${CMAKE_COMMAND} --build ${SCRATCH}/build_c)
run(${SCRATCH}/build_c/consumer_c)

message(STATUS "gdn.hpp before C++20")
file(WRITE ${SCRATCH}/before.cc "#include <gdn/gdn.hpp>\n")
execute_process(
  COMMAND ${CXX_COMPILER} -std=c++17 -fsyntax-only -I${prefix}/include
          -I${prefix}/include/gdn/third_party ${SCRATCH}/before.cc
  RESULT_VARIABLE status ERROR_VARIABLE out)
string(REGEX MATCHALL "error:" errors "${out}")
if(status EQUAL 0 OR NOT errors STREQUAL "error:" OR NOT out MATCHES "gdn.hpp needs C\\+\\+20")
  message(FATAL_ERROR "expected one error that names C++20, found:\n${out}")
endif()

if(NOT PKG_CONFIG)
  message("skipped: pkg-config is not installed")
  return()
endif()
message(STATUS "pkg-config")
set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
run(${PKG_CONFIG} --cflags --libs gdn)
separate_arguments(pc UNIX_COMMAND "${out}")
set(rpath -Wl,-rpath,${prefix}/${LIBDIR})
run(${C_COMPILER} -std=c11 -pedantic -Wall -Wextra -Werror ${SOURCE}/consumer.c
    -o ${SCRATCH}/pc_c ${pc} ${rpath})
run(${CXX_COMPILER} -std=c++20 -pedantic -Wall -Wextra -Werror ${SOURCE}/consumer.cc
    -o ${SCRATCH}/pc_cc ${pc} ${rpath})
run(${SCRATCH}/pc_c)
run(${SCRATCH}/pc_cc)
