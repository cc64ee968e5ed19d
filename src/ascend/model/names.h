#ifndef GDN_ASCEND_MODEL_NAMES_H_
#define GDN_ASCEND_MODEL_NAMES_H_

#include <string>

#include "ascend/model/machine.h"

namespace gdn::ascend::model {

/// "Vector core 1 of block 0".
std::string text_of_core(int64_t core);
/// "V of Vector core 1 of block 0".
std::string text_of(const Agent &agent);

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_NAMES_H_
