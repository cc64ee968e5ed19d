# See CMakeLists.txt. Variables: BUILD, SCRATCH, SOURCE, GENERATOR, LIBDIR, C_COMPILER, CXX_COMPILER,
# PKG_CONFIG.

set(prefix ${SCRATCH}/prefix)
file(REMOVE_RECURSE ${prefix} ${SCRATCH}/moved ${SCRATCH}/build)

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

message(STATUS "find_package")
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${SCRATCH}/build -G ${GENERATOR}
    -DCMAKE_PREFIX_PATH=${prefix} -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_C_COMPILER=${C_COMPILER} -DCMAKE_CXX_COMPILER=${CXX_COMPILER})
run(${CMAKE_COMMAND} --build ${SCRATCH}/build)
run(${SCRATCH}/build/consumer_c)
run(${SCRATCH}/build/consumer_cc)

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
