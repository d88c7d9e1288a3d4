// Files embedded into the program for the report. Constant data; thread safe.
#pragma once

#include <string_view>

namespace finch::controller {

// HTML with the marks {{TITLE}}, {{CHART_JS}} and {{DATA}}.
std::string_view report_template();
std::string_view compression_template();
std::string_view chart_js();

}  // namespace finch::controller
