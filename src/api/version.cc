#include "gdn/gdn.h"

#define GDN_TEXT_OF(x) #x
#define GDN_DOTTED(major, minor, patch) \
  GDN_TEXT_OF(major) "." GDN_TEXT_OF(minor) "." GDN_TEXT_OF(patch)

const char *gdn_version(void) {
  return GDN_DOTTED(GDN_VERSION_MAJOR, GDN_VERSION_MINOR, GDN_VERSION_PATCH);
}
