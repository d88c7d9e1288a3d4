// Asio's own code, compiled once here (BOOST_ASIO_SEPARATE_COMPILATION) and not in every source that includes it.
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
