# Sets GDN_OPERATIONS to the names in the list of operations, src/core/operations.h: kernels are
# files of these names.

set(operations_header ${PROJECT_SOURCE_DIR}/src/core/operations.h)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${operations_header})
file(READ ${operations_header} header)
string(REGEX MATCHALL "\n  OP\\([a-z0-9_]+" GDN_OPERATIONS "${header}")
list(TRANSFORM GDN_OPERATIONS REPLACE "\n  OP\\(" "")
list(LENGTH GDN_OPERATIONS operation_count)
if(operation_count EQUAL 0)
  message(FATAL_ERROR "No operation was found in ${operations_header}.")
endif()

# gdn_operation_sources(OUT FOLDER SUFFIX): FOLDER/NAME.SUFFIX for each operation.
function(gdn_operation_sources out folder suffix)
  set(sources ${GDN_OPERATIONS})
  list(TRANSFORM sources PREPEND "${folder}")
  list(TRANSFORM sources APPEND ".${suffix}")
  set(${out} ${sources} PARENT_SCOPE)
endfunction()
