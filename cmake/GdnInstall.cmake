# cmake --install: headers, library, find_package(gdn) and pkg-config files.

include(CMakePackageConfigHelpers)

# A copy of the DLPack header travels with ours, in a folder of its own: the system may have one.
set(GDN_INSTALL_DLPACK ${CMAKE_INSTALL_INCLUDEDIR}/gdn/third_party)

install(TARGETS gdn EXPORT gdnTargets
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT library NAMELINK_COMPONENT development)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/gdn
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${GDN_DLPACK_INCLUDE_DIR}/dlpack/dlpack.h
  DESTINATION ${GDN_INSTALL_DLPACK}/dlpack COMPONENT development)

# find_package(gdn)
set(GDN_INSTALL_CMAKE ${CMAKE_INSTALL_LIBDIR}/cmake/gdn)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/gdnConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(EXPORT gdnTargets NAMESPACE gdn:: DESTINATION ${GDN_INSTALL_CMAKE} COMPONENT development)
install(FILES ${PROJECT_SOURCE_DIR}/cmake/gdnConfig.cmake
              ${PROJECT_BINARY_DIR}/gdnConfigVersion.cmake
  DESTINATION ${GDN_INSTALL_CMAKE} COMPONENT development)

# pkg-config: paths relative to gdn.pc, so that the tree can be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR} OR IS_ABSOLUTE ${CMAKE_INSTALL_INCLUDEDIR})
  set(GDN_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /prefix/${pkgconfig_dir} /prefix)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(GDN_PC_PREFIX "\${pcfiledir}/${up}")
endif()
cmake_path(APPEND GDN_PC_LIBDIR "\${prefix}" ${CMAKE_INSTALL_LIBDIR})
cmake_path(APPEND GDN_PC_INCLUDEDIR "\${prefix}" ${CMAKE_INSTALL_INCLUDEDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/gdn.pc.in ${PROJECT_BINARY_DIR}/gdn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gdn.pc DESTINATION ${pkgconfig_dir} COMPONENT development)
