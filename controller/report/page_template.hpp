// Fills a page's marks so that it needs nothing else: title, Chart.js, data. Pure function; thread safe.
#pragma once

#include <string>
#include <string_view>

namespace finch::controller {

// `page`: HTML with the marks {{TITLE}}, {{CHART_JS}} and {{DATA}}; `json` goes into a <script>.
std::string fill_page(std::string_view page, std::string_view title, const std::string& json);

}  // namespace finch::controller
