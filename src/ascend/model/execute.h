#ifndef GDN_ASCEND_MODEL_EXECUTE_H_
#define GDN_ASCEND_MODEL_EXECUTE_H_

#include "ascend/model/access.h"

namespace gdn::ascend::model {

// What each instruction does to the memory. Those that only order others do nothing here.
void execute(const Load &i, Access &memory);
void execute(const Store &i, Access &memory);
void execute(const LoadNd2Nz &i, Access &memory);
void execute(const FillL1 &i, Access &memory);
void execute(const StoreNz2Nd &i, Access &memory);
void execute(const StoreL1 &i, Access &memory);
void execute(const LoadL0 &i, Access &memory);
void execute(const Mmad &i, Access &memory);
void execute(const VBinary &i, Access &memory);
void execute(const VMla &i, Access &memory);
void execute(const VExp &i, Access &memory);
void execute(const VDup &i, Access &memory);
void execute(const VCast &i, Access &memory);
void execute(const VSelect &i, Access &memory);
void execute(const VBrcb &i, Access &memory);
void execute(const VTranspose &i, Access &memory);

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_EXECUTE_H_
