# find_package(gdn) defines the target gdn::gdn.

include(${CMAKE_CURRENT_LIST_DIR}/gdnTargets.cmake)
