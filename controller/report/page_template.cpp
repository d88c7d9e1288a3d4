#include "controller/report/page_template.hpp"

#include "controller/report/report_assets.hpp"

namespace finch::controller {
namespace {

void replace_mark(std::string& page, std::string_view mark, std::string_view text) {
  const std::size_t at = page.find(mark);
  if (at != std::string::npos) page.replace(at, mark.size(), text);
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char character : text) {
    switch (character) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += character;
    }
  }
  return escaped;
}

// JSON inside <script>: "</script>" in a name must not end the element.
std::string script_safe(std::string json) {
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3) json.replace(at, 2, "<\\/");
  return json;
}

}  // namespace

std::string fill_page(std::string_view page, std::string_view title, const std::string& json) {
  std::string filled(page);
  replace_mark(filled, "{{TITLE}}", escape_html(title));
  replace_mark(filled, "{{CHART_JS}}", chart_js());
  replace_mark(filled, "{{DATA}}", script_safe(json));
  return filled;
}

}  // namespace finch::controller
