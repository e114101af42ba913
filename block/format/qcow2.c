#include "block/driver.h"
