# See CMakeLists.txt. Variables: PROJECT, SCRATCH, GENERATOR, CXX_COMPILER.

file(REMOVE_RECURSE ${SCRATCH})
set(configure ${CMAKE_COMMAND} -S ${PROJECT} -B ${SCRATCH}/build -G ${GENERATOR}
    -DCMAKE_CXX_COMPILER=${CXX_COMPILER} -DGDN_CUDA=OFF -DGDN_BUILD_TOOLS=OFF -DGDN_BUILD_TESTS=OFF
    -DGDN_ASCEND_DEVICE=ON)

execute_process(COMMAND ${configure} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE out)
string(REGEX REPLACE "[ \n]+" " " out "${out}")
if(status EQUAL 0 OR NOT out MATCHES "GDN_ASCEND_DEVICE_COMPILER is \"\", expected the path of the")
  message(FATAL_ERROR "expected a refusal that names GDN_ASCEND_DEVICE_COMPILER, found\n${out}")
endif()

# It leaves its arguments where the library would be.
set(compiler ${SCRATCH}/compiler)
file(WRITE ${compiler} "#!/bin/sh\nfor last; do :; done\necho \"$@\" > \"$last\"\n")
file(CHMOD ${compiler} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
execute_process(COMMAND ${configure} -DGDN_ASCEND_DEVICE_COMPILER=${compiler}
  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${SCRATCH}/build --target gdn_ascend_device
  COMMAND_ERROR_IS_FATAL ANY OUTPUT_QUIET)
file(READ ${SCRATCH}/build/libgdn_ascend_device.so arguments)
foreach(part -std=c\\+\\+17 -DGDN_ASCEND_DEVICE -shared src/ascend/device/kernels.cc)
  if(NOT arguments MATCHES " ?${part} ")
    message(FATAL_ERROR "the compiler was called without ${part}: ${arguments}")
  endif()
endforeach()
